"""What a Prefect server must hold so that audits run on it: looked at, and changed only where it differs.

wanted       what `deployments/prefect.yaml` asks for      changes      what was created, updated, left alone
pools        work pools and their queues                   lanes        the limits that are the caps
deployments  flows, schedules, parameters
automations  what happens when a run fails, is stuck or is dead
notices      the action that tells somebody     server       the configured server, or why there is none
put          all of it, in the order in which one thing needs the other
"""
