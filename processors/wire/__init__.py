"""What the compiled processors share: protobuf's wire format read field by field, and edits of a request."""
