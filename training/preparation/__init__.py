"""From data sets to a prepared folder: cleaning, crops, split, leakage checks."""
