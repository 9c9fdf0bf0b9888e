"""What people write: recipes, their steps, how to measure, number formats. No torch."""
