"""What runs have to say: tables, one page, and their episodes turn by turn."""
