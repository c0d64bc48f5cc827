"""Data sets as they are downloaded or exported: adapters that show studies, read them, and name what is wrong."""
