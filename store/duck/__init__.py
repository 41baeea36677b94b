"""The projections in DuckDB files; the only place that imports duckdb."""
