"""What all stages that handle documents share: schema, annotation, ledger, keeps, token rows."""
