"""File formats of data sets: delimited text, JSON rows, text files, image folders."""
