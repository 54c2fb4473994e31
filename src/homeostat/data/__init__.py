"""Data: where rows come from and the immutable training sets made of them."""
