"""What is tried, what follows, and what is kept: recipes, their search, and the budget. Pure."""
