"""Places that files come from; each is a :class:`medcli.transfer.protocol.Source` and knows no dataset."""
