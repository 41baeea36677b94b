"""What the projections hold and how they are asked: pure, no database is imported here."""
