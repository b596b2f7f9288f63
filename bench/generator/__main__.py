"""`python -m bench.generator`: the same as `butterfly generate`."""

from bench.generator.command import generate

if __name__ == "__main__":
    generate()
