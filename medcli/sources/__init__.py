"""Places that files come from; each is a :class:`medcli.transfer.source.Source` and knows no dataset."""
