"""Places that files come from; each is a :class:`medcli.transfer.protocol.RemoteSource` and knows no dataset."""
