-- Usage of the notification queue in ppm. This function makes PostgreSQL advance the queue's tail,
-- which a listener that died at the wrong moment may have left behind.
select round(pg_notification_queue_usage() * 1000000)::int8, pg_is_in_recovery();
