"""LaTeX for papers: the tables of results with a paragraph on how they were measured."""
