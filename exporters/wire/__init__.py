"""What the compiled exporters share: protobuf's wire format read field by field."""
