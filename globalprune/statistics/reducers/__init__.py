"""One module per statistic: what is accumulated at the sites of a pass."""
