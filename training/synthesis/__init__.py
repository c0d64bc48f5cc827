"""Synthetic necks: anatomy, fractures and what looks like them, wear, implants, artifacts, and series in DICOM."""
