"""The table of a sweep: its jobs, in the storage of Optuna, which is queue and dashboard as well.

A job is one trial of Optuna: settings, a rung to train to, and a generation. Who may do it follows
from three things that the storage does atomically, and from nothing else:

- a job is taken by whoever turns it from WAITING to RUNNING;
- a job that has ended never changes again, so whoever was taken for dead cannot report any more;
- of jobs made twice, by two machines at once, the one with the lower number counts.

What was lost is found by reading the table, never by an event that might be missed.
"""
import json
import time
from typing import NamedTuple

from gpt.settings import ConfigError

WAIT_S = 5                         # until a database that does not answer is asked again
AGREE_S = 1                        # in which machines that begin at once have said theirs
LOCK_S = 60                        # that SQLite waits for its lock
WAITING, RUNNING, DONE, FAILED = "WAITING", "RUNNING", "DONE", "FAILED"
STATES = {"COMPLETE": DONE, "PRUNED": DONE}
ENGINES = {"postgresql": ("psycopg", "postgresql+psycopg"), "sqlite": ("sqlite3", "sqlite")}


class Job(NamedTuple):
    """A row of the table."""

    number: int
    id: int                        # of the storage
    state: str
    trial: int                     # which settings, from 0 on
    rung: int
    generation: int                # how often the trial has been taken from somebody
    settings: dict                 # those that differ between trials
    facts: dict                    # what its owner said of it
    value: float | None
    step: int                      # at which it was measured

    @property
    def key(self):
        return self.trial, self.rung, self.generation


class Lost(Exception):
    """A job that has ended meanwhile: it was taken from us."""


def import_optuna():
    """Return Optuna, told to be quiet.

    Raises
    ------
    ConfigError
        Where it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise ConfigError("sweeps need Optuna: pip install 'minigrad[sweep]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


class Table:
    """The jobs of one sweep.

    Parameters
    ----------
    url : str
        sqlite:///FILE or postgresql://...
    name : str
    say : callable
        Is told when the database does not answer, and when it does again.
    create : bool
        Whether to make it where it is not there.

    Raises
    ------
    ConfigError
        If there is no such database or sweep.
    """

    def __init__(self, url, name, say=print, create=True):
        self.optuna, self.name, self.say = import_optuna(), name, say
        self.storage = connect(self.optuna, url)
        make = self.optuna.create_study if create else self.optuna.load_study
        more = {"load_if_exists": True} if create else {}
        try:
            self.study = make(storage=self.storage, study_name=name, **more)
        except KeyError:
            self.close()
            raise ConfigError(f"there is no sweep {name!r}: begin it with minigrad sweep TEXT "
                              f"--name {name}") from None
        self.study_id = self.storage.get_study_id_from_name(name)

    def close(self):
        """End the connections to the database."""
        self.storage.remove_session()
        self.storage.engine.dispose()

    def ask(self, do, *args):
        """Do something with the database, however long it takes to come back."""
        waiting = False
        while True:
            try:
                found = do(*args)
                break
            except self.optuna.exceptions.UpdateFinishedTrialError as error:
                raise Lost from error
            except unreachable(self.optuna) as error:
                if not waiting:
                    self.say("the database does not answer: waiting for it, the runs go on "
                             f"({reason(error)})")
                waiting = True
                time.sleep(WAIT_S)
        if waiting:
            self.say("the database answers again")
        return found

    # ---- of the sweep ----

    def spec(self):
        """Return what the sweep is; None before it has been said."""
        return self.ask(lambda: self.study.user_attrs).get("spec")

    def agree(self, said, settle):
        """Return what the sweep is; whoever comes first settles what was said.

        Raises
        ------
        ConfigError
            If it was begun as something else.
        """
        settled = None if self.spec() else settle(said) | {"said": said}
        if settled and not self.spec():
            self.ask(self.study.set_user_attr, "spec", settled)
            time.sleep(AGREE_S)                       # another may be writing its own: the last
        known = self.spec()
        for name in said:
            one, other = (json.dumps(x[name]) for x in (known["said"], said))
            if one != other:
                raise ConfigError(f"the sweep {self.name} has {name} {one}, not {other}: say the "
                                  "same to go on with it, or another --name")
        return known

    # ---- of jobs ----

    def jobs(self):
        """Return all jobs by number; those made twice count once."""
        trials = self.ask(lambda: self.study.get_trials(deepcopy=False))
        return [job_of(trial) for trial in trials if "trial" in trial.user_attrs]

    def add(self, trial, rung, generation, settings, axes, facts=None):
        """Put a job into the queue."""
        attrs = {"trial": trial, "rung": rung, "generation": generation, "settings": settings,
                 **(facts or {})}
        params = {name: value for name, value in settings.items() if name in axes}
        new = self.optuna.trial.create_trial(
            state=self.optuna.trial.TrialState.WAITING, params=params, user_attrs=attrs,
            distributions={name: distribution(self.optuna, axes[name]) for name in params})
        self.ask(self.study.add_trial, new)

    def take(self, job):
        """Take a job; tell whether it is ours."""
        state = self.optuna.trial.TrialState.RUNNING
        try:
            return self.ask(self.storage.set_trial_state_values, job.id, state)
        except Lost:
            return False

    def tell(self, job, **facts):
        """Write down facts of a job that is ours.

        Raises
        ------
        Lost
            If it is no longer.
        """
        for name, value in facts.items():
            self.ask(self.storage.set_trial_user_attr, job.id, name, value)

    def done(self, job, value, step, last):
        """Hand in the value of a job that was ours; the last rung makes a trial complete.

        Raises
        ------
        Lost
            If it is no longer.
        """
        states = self.optuna.trial.TrialState
        state = states.COMPLETE if last else states.PRUNED
        self.ask(self.storage.set_trial_intermediate_value, job.id, step, value)
        self.ask(self.storage.set_trial_state_values, job.id, state, [value])

    def fail(self, job, why=""):
        """End a job without a value, whoever owns it; tell whether it had not ended before."""
        try:
            if why:
                self.tell(job, why=why)
            self.ask(self.storage.set_trial_state_values, job.id,
                     self.optuna.trial.TrialState.FAIL)
        except Lost:
            return False
        return True


def job_of(trial):
    attrs = trial.user_attrs
    state = STATES.get(trial.state.name, FAILED if trial.state.name == "FAIL" else trial.state.name)
    return Job(trial.number, trial._trial_id, state, attrs["trial"], attrs["rung"],
               attrs["generation"], attrs["settings"], attrs,
               trial.values[0] if trial.values else None,
               max(trial.intermediate_values, default=0))


def distribution(optuna, axis):
    """Describe an axis as Optuna does, for its dashboard and its samplers."""
    kinds = optuna.distributions
    if axis.values:
        return kinds.CategoricalDistribution(axis.values)
    kind = kinds.IntDistribution if axis.whole else kinds.FloatDistribution
    return kind(axis.low, axis.high, log=axis.log)


# ---- the database ----

def connect(optuna, url):
    """Open the storage at an address.

    Raises
    ------
    ConfigError
        If there is none, or it is of a kind that knows no transactions.
    """
    kind = url.partition(":")[0].partition("+")[0]
    if kind not in ENGINES:
        raise ConfigError(f"storage is {url!r}, but must be postgresql://HOST/NAME or "
                          "sqlite:///FILE")
    package, driver = ENGINES[kind]
    settings = {"connect_args": {"timeout": LOCK_S}} if kind == "sqlite" else POSTGRESQL
    for attempt in range(5):                          # machines that begin at once make its tables
        try:
            storage = optuna.storages.RDBStorage(f"{driver}:{url.partition(':')[2]}",
                                                 engine_kwargs=settings)
            if kind == "sqlite":
                with_write_lock(storage.engine)
            return storage
        except ImportError:
            raise ConfigError(f"{kind} needs {package}: pip install 'minigrad[sweep]'") from None
        except unreachable(optuna) as error:
            last = error
            time.sleep(0.2 + attempt)
    raise ConfigError(f"the storage {shown(url)} cannot be reached: {reason(last)}")


# Who is silent in the middle of a transaction loses its locks, and who is gone is noticed.
POSTGRESQL = {"pool_pre_ping": True,
              "connect_args": {"connect_timeout": 10, "tcp_user_timeout": 20_000,
                               "keepalives_idle": 10,
                               "options": "-c idle_in_transaction_session_timeout=30000"}}


def with_write_lock(engine):
    """Begin each transaction of SQLite with the lock for writing.

    SQLite has no SELECT ... FOR UPDATE: else two would read that a job waits, and both take it.
    """
    import sqlalchemy

    def own_begin(connection, record):
        connection.isolation_level = None             # Python's sqlite3 must not begin by itself

    def begin(connection):
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    engine.dispose()                                  # connections made before have no such rule
    sqlalchemy.event.listen(engine, "connect", own_begin)
    sqlalchemy.event.listen(engine, "begin", begin)


def unreachable(optuna):
    """Return the exceptions of a database that does not answer."""
    import sqlalchemy
    return optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError


def reason(error):
    """Return the first line of what is behind an error of the storage."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def shown(url):
    """Return an address without its password.

    >>> shown("postgresql://me:secret@lab/sweeps")
    'postgresql://me@lab/sweeps'
    """
    head, at, tail = url.rpartition("@")
    scheme, slashes, user = head.partition("//")
    return f"{scheme}{slashes}{user.partition(':')[0]}{at}{tail}"
