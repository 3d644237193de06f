"""What is chosen before a model is fitted: σ, λ, symmetry, the metric, the pairs of its descriptor."""
