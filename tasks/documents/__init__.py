"""What every stage that handles documents shares: schema, annotation, ledger, keep grammar, rows of
tokens.
"""
