"""The Java programs of metrics: METEOR, SPICE, the PTB tokenizer; they cannot hang or outlive the call."""
