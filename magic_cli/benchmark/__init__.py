"""How fast decoding is: models of the paper's shapes, the released algorithm as the baseline, arithmetic counted."""
