"""Facts as files: ``models.json`` has one row for each model of the service; ``catalog.ModelSpec`` explains the fields."""
