"""The network and the vocabulary of its answers: arrays in, labels and findings out; knows no DICOM."""
