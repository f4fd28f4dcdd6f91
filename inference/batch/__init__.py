"""A folder of photos goes in, a table with a row for each file comes out."""
