"""The archive: history of ended instances in Parquet files, out of the log and still at hand."""
