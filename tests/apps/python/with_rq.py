"""rq: its scripts for unique jobs, for the scheduler's locks and to empty a queue; jobs run, fail and wait for others."""

import operator
from datetime import datetime, timezone

from harness import PORT, eventually, refusal
from redis import Redis
from rq import Queue, Retry, SimpleWorker
from rq.exceptions import DuplicateJobError
from rq.job import JobStatus
from rq.scheduler import RQScheduler
from rq.version import VERSION

connection = Redis(port=PORT)
queue = Queue("work", connection=connection)


def work():
    SimpleWorker([queue], connection=connection).work(burst=True, logging_level="CRITICAL")


def a_job_id_is_queued_once():
    job = queue.enqueue(operator.add, 2, 3, job_id="sum", unique=True, ttl=100)
    refusal(DuplicateJobError, queue.enqueue, operator.add, 7, 8, job_id="sum", unique=True)
    queue.enqueue(operator.add, 1, 1, job_id="first", unique=True, at_front=True)
    assert queue.job_ids == ["first", "sum"] and 0 < connection.ttl(job.key) <= 100
    work()
    assert job.return_value() == 5 and queue.is_empty()


def jobs_fail_wait_and_are_retried():
    failing = queue.enqueue(operator.truediv, 1, 0)
    repeated = queue.enqueue(operator.truediv, 1, 0, retry=Retry(max=1))
    base = queue.enqueue(operator.mul, 6, 7)
    dependent = queue.enqueue(operator.neg, 1, depends_on=base)
    assert dependent.get_status() == JobStatus.DEFERRED and dependent.id in queue.deferred_job_registry
    work()
    assert base.return_value() == 42 and dependent.return_value() == -1
    assert failing.get_status() == JobStatus.FAILED and "ZeroDivisionError" in failing.latest_result().exc_string
    assert {failing.id, repeated.id} == set(queue.failed_job_registry.get_job_ids())
    queue.failed_job_registry.requeue(failing.id)
    assert queue.job_ids == [failing.id]


def a_queue_is_emptied():
    jobs = [queue.enqueue(operator.neg, number) for number in range(50)]
    assert queue.empty() == 51 and queue.is_empty()
    assert not connection.exists(*(job.key for job in jobs))


def one_scheduler_moves_the_jobs_that_are_due():
    job = queue.create_job(operator.add, args=(20, 3), job_id="later")
    now = datetime.now(timezone.utc)
    queue.schedule_job(job, now, unique=True)
    refusal(DuplicateJobError, queue.schedule_job, job, now, unique=True)
    assert job.id in queue.scheduled_job_registry and queue.is_empty()
    one, other = (RQScheduler([queue], connection=connection, interval=1) for _ in range(2))
    assert one.acquire_locks() == {"work"} and other.acquire_locks() == set()
    assert one.acquire_locks() == {"work"}
    one.heartbeat()
    assert one.acquired_locks == {"work"}

    def is_queued():
        one.enqueue_scheduled_jobs()
        return job.id in queue.job_ids

    eventually("the scheduled job is queued", is_queued)
    work()
    assert job.return_value() == 23
    connection.set(one.get_locking_key("work"), other.name)
    one.heartbeat()
    assert one.acquired_locks == set()
    assert other.acquire_locks() == {"work"}
    other.release_locks()
    assert not connection.exists(one.get_locking_key("work"))


a_job_id_is_queued_once()
jobs_fail_wait_and_are_retried()
a_queue_is_emptied()
one_scheduler_moves_the_jobs_that_are_due()
print("rq", VERSION)
