"""The rows of deliveries: what of a study's results each destination has, is still to get, or was given up on."""

from sqlalchemy import ColumnElement, case, or_, select, update
from sqlalchemy.orm import Session

from worker.records import RETRACTION, Delivery, DeliveryState, ResultObject, Run


def forgive(session: Session, study_id: int, generation: int) -> None:
    """The operator's retry: what was given up is tried again, at once, with a back-off that begins anew."""
    results = select(ResultObject.id).join(Run).where(Run.study_id == study_id, concerned(generation))
    again = case((Delivery.state == DeliveryState.REFUSED, DeliveryState.PENDING), else_=Delivery.state)
    statement = (
        update(Delivery)
        .where(
            Delivery.result_object_id.in_(results),
            or_(Delivery.state.in_([DeliveryState.PENDING, DeliveryState.REFUSED]), Delivery.failure_code.is_not(None)),
        )
        .values(state=again, retries=0, resends=0, first_failed_at=None, next_try_at=None, failure_code=None)
        .execution_options(synchronize_session=False)
    )
    session.execute(statement)


def concerned(generation: int) -> ColumnElement[bool]:
    """Results that a delivery in this generation has to do with: its own, and Key Objects that withdraw any others."""
    return or_(ResultObject.kind == RETRACTION, Run.generation == generation)
