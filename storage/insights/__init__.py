"""Reports across tables: lineage, vote outcomes, approval, traces, privacy."""
