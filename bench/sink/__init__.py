"""The backend of a benchmark: takes OTLP, counts it, writes down what it was, throws it away."""
