"""Measuring a bundle: judging studies, figures with intervals, data sets of known truth, reports and the model card."""
