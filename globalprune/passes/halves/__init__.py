"""One half of a layer run by itself, and the streams that walk through all of them."""
