"""Reports across tables: state and versions, lineage, vote outcomes, answers, taste, the report."""
