"""The migrations, numbered; the names of their files order them."""
