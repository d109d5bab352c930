"""What is made and shipped: artifacts, datasets, models, versions, variants, evaluations."""
