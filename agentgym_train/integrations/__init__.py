"""The algorithms in other people's trainers: one package each, loaded only when imported."""
