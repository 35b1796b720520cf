"""metapbt: population-based training that remembers."""
