"""One frozen class per table."""

from memory.rows.agents import AgentMemory as AgentMemory
from memory.rows.brand import Brand as Brand
from memory.rows.brand import BrandGuideline as BrandGuideline
from memory.rows.brand import BrandKnowledge as BrandKnowledge
from memory.rows.brand import Control as Control
from memory.rows.brand import KnowledgeSource as KnowledgeSource
from memory.rows.checks import ComplianceCheck as ComplianceCheck
from memory.rows.checks import Finding as Finding
from memory.rows.checks import Review as Review
from memory.rows.content import ContentEmbedding as ContentEmbedding
from memory.rows.content import ContentTemplate as ContentTemplate
from memory.rows.content import Metric as Metric
from memory.rows.content import Piece as Piece
from memory.rows.content import Post as Post
from memory.rows.content import Revision as Revision
from memory.rows.publication import Account as Account
from memory.rows.publication import LedgerStep as LedgerStep
from memory.rows.publication import Schedule as Schedule
from memory.rows.publication import ScheduledPublication as ScheduledPublication
from memory.rows.publication import ScheduleFire as ScheduleFire
from memory.rows.row import Key as Key
from memory.rows.row import Row as Row
from memory.rows.sessions import Assignment as Assignment
from memory.rows.sessions import Event as Event
from memory.rows.sessions import Session as Session
from memory.rows.sessions import Usage as Usage

ROW_TYPES: tuple[type[Row], ...] = (
    Brand,
    BrandKnowledge,
    KnowledgeSource,
    BrandGuideline,
    Control,
    Piece,
    Revision,
    ContentEmbedding,
    ContentTemplate,
    Metric,
    ComplianceCheck,
    Review,
    ScheduledPublication,
    LedgerStep,
    Account,
    Schedule,
    ScheduleFire,
    AgentMemory,
    Session,
    Assignment,
    Usage,
    Event,
)
"""Every table of Records, in the order of docs/source-map.md."""
