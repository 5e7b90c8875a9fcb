"""Long-term rows, vectors and `create_once`."""

from memory.records.protocol import Once as Once
from memory.records.protocol import Records as Records
from memory.records.protocol import RecordsStore as RecordsStore
from memory.records.protocol import Scored as Scored
from memory.records.protocol import open_records as open_records
