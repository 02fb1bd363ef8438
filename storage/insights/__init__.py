"""What reports read across tables: lineage, vote outcomes, approval, traces."""
