"""One streamed pass of token windows through a model, reduced to group sums as it goes."""
