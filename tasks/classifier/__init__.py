"""Quality classifiers: trained on labels or on two kinds of sources, calibrated, and measured."""
