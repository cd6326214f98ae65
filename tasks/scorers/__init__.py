"""What gives a document a quality score: fastText, a linear probe, a model of Hugging Face.

Shared by the stage that makes classifiers and the one that scores documents with them.
"""
