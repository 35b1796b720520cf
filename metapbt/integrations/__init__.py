"""metapbt inside other libraries."""
