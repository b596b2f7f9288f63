def checked_fields() -> dict[str, dict[int, str]]:
    """Message name -> field number -> "string" or the name of the field's message: all that `validate` looks into."""
