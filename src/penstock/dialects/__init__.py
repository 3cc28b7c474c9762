"""What both sides of one wire format know: the inbound protocol and the provider that speaks it outbound."""
