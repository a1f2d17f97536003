"""Statistics: what passes through the sites, reduced to a number for every group."""
