"""Tables, pictures and small pieces of HTML, made from result files only; never torch."""
