"""From labelled configurations of a complex to a tested Δ-model."""
