"""Secrets are withheld from what is written down for good."""

import json

import pytest

import versioned_io as vio
from versioned_io.model.withholding import WITHHELD, is_secret_name, withhold, withhold_in_text

SECRET = "hunter2-s3cr3t"


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "PASSWORD",
        "db_password",
        "dbPassword",
        "DB-PASSWD",
        "userpasswd",
        "passphrase",
        "secret",
        "client_secret",
        "clientSecret",
        "SECRET_KEY",
        "token",
        "auth_token",
        "github-token",
        "accessToken",
        "api_key",
        "apiKey",
        "API-KEY",
        "apikey",
        "x-api-key",
        "access_key",
        "aws_secret_access_key",
        "aws_access_key_id",
        "private_key",
        "privateKey",
        "credential",
        "credentials",
        "auth",
        "dsn",
        "sentryDsn",
        "connection_string",
        "pwd",
        "AccountKey",
        "sas_token",
        "sasToken",
        "sig",
        "authorization",
        "Cookie",
        "jwt",
        "bearer",
        "pass",
    ],
)
@pytest.mark.parametrize("depth", [0, 1, 4])
def test_a_parameter_whose_name_looks_like_a_secret_is_withheld_at_any_depth(name, depth):
    params = {name: SECRET, "rows": 5}
    for level in range(depth):
        params = {"inner": [params, level]} if level % 2 else {"deeper": params}
    withheld = withhold(params)
    assert SECRET not in json.dumps(withheld)
    assert WITHHELD in json.dumps(withheld)
    assert '"rows": 5' in json.dumps(withheld)
    assert SECRET not in json.dumps(withhold({name: [SECRET, {"x": SECRET}]}))


@pytest.mark.parametrize(
    "name",
    [
        "author",
        "authority",
        "passenger",
        "compass",
        "tokenizer",
        "tokenized",
        "surpass",
        "key",
        "keys",
        "primary_key",
        "partition_key",
        "signal",
        "column",
        "path",
        "bypass",
        "desk",
        "monkey",
        "passed",
        "task",
        "url",
        "user",
        "username",
        "host",
        "cookiecutter",
        "secs",
        "region",
    ],
)
def test_a_name_that_only_looks_alike_is_kept(name):
    assert not is_secret_name(name)
    assert withhold({name: "value"}) == {name: "value"}


def test_a_count_of_tokens_and_a_flag_are_kept():
    params = {"max_tokens": 4096, "use_auth": True, "token": None, "passes": 3, "pass": 2, "password": ""}
    assert withhold(params) == params
    assert withhold({"password": 1234}) == {"password": WITHHELD}


def test_what_names_where_a_secret_comes_from_is_kept():
    params = {"password": {"env": "DB_PASSWORD"}, "nested": {"token": {"env": "TOKEN"}}}
    assert withhold(params) == params
    assert withhold({"password": {"env": SECRET, "x": 1}}) == {"password": WITHHELD}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (f"postgresql://user:{SECRET}@host:5432/db", "postgresql://user:(withheld)@host:5432/db"),
        (f"postgresql+psycopg://user:p@{SECRET}@host/db", "postgresql+psycopg://user:(withheld)@host/db"),
        (f"redis://:{SECRET}@host", "redis://:(withheld)@host"),
        (f"see https://{SECRET}@github.com/x.git", "see https://(withheld)@github.com/x.git"),
        (f"https://host/x?a=1&token={SECRET}&b=2", "https://host/x?a=1&token=(withheld)&b=2"),
        (f"https://acct.blob/x?sv=1&sig={SECRET}%3D", "https://acct.blob/x?sv=1&sig=(withheld)"),
        (f"https://s3/x?X-Amz-Signature={SECRET}", "https://s3/x?X-Amz-Signature=(withheld)"),
        (f"host=db user=me password={SECRET} port=5", "host=db user=me password=(withheld) port=5"),
        (
            f"AccountName=a;AccountKey={SECRET}==;EndpointSuffix=x",
            "AccountName=a;AccountKey=(withheld);EndpointSuffix=x",
        ),
        (f'{{"user": "me", "password": "{SECRET} x"}}', '{"user": "me", "password": "(withheld)"}'),
        (f"run --password={SECRET} --rows=3", "run --password=(withheld) --rows=3"),
        (f"Authorization: Bearer {SECRET}", None),
        (f"run --password {SECRET} --rows 3", "run --password (withheld) --rows 3"),
        (f"run --token '{SECRET} x' -v", "run --token '(withheld)' -v"),
        (f"curl -u me:{SECRET} https://host", "curl -u me:(withheld) https://host"),
        (f"PASSWORD => {SECRET}", "PASSWORD => (withheld)"),
        (f"password='{SECRET} cut off", "password='(withheld)'"),
        (f"postgresql://user:p/{SECRET}@host/db", "postgresql://user:(withheld)@host/db"),
        (json.dumps({"a": json.dumps({"password": SECRET})}), None),
        ("log: " + json.dumps({"a": json.dumps({"password": SECRET})}), None),
        ("log: " + json.dumps({"passwords": ["x", SECRET]}), 'log: {"passwords": (withheld)}'),
        ("log: " + json.dumps({"password": 'a"' + SECRET}), 'log: {"password": "(withheld)"}'),
        (json.dumps([{"credentials": {"user": "me", "value": SECRET}}]), '[{"credentials": "(withheld)"}]'),
        (f"cloned with ghp_{SECRET}_{SECRET}", "cloned with (withheld)"),
        (
            f"https://hooks.slack.com/services/T0/B0/{SECRET.replace('-', '')}",
            "https://hooks.slack.com/services/(withheld)",
        ),
        ("postgresql://host:5432/db?mail=a@b", "postgresql://host:5432/db?mail=a@b"),
        ('{"rows":  5}', '{"rows":  5}'),
        (f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----", "(withheld)"),
        ("s3://bucket/key@2024", "s3://bucket/key@2024"),
        ("postgresql://user@host/db", "postgresql://user@host/db"),
        ("mail me@example.org at 12:30", "mail me@example.org at 12:30"),
        ("repo@main:dir/token.txt", "repo@main:dir/token.txt"),
        ("max_tokens=4096", "max_tokens=4096"),
        ("https://dagster:3000/runs/1?page=2", "https://dagster:3000/runs/1?page=2"),
    ],
)
def test_passwords_in_texts_are_withheld_and_the_rest_is_kept(text, kept):
    found = withhold_in_text(text)
    assert SECRET not in found
    assert kept in {None, found}
    assert withhold_in_text(found) == found
    assert SECRET not in json.dumps(withhold({"command": ["run", {"deep": text}]}))


def test_values_of_flags_and_of_named_pairs_are_withheld():
    assert withhold({"args": ["--user", "me", "--password", SECRET, "--rows", "5"]}) == {
        "args": ["--user", "me", "--password", WITHHELD, "--rows", "5"]
    }
    assert withhold({"env": [{"name": "DB_PASSWORD", "value": SECRET}, {"name": "ROWS", "value": "5"}]}) == {
        "env": [{"name": "DB_PASSWORD", "value": WITHHELD}, {"name": "ROWS", "value": "5"}]
    }


def test_values_of_headers_are_withheld():
    headers = [["Authorization", f"Token {SECRET}"], ["Accept", "text/csv"]]
    assert withhold({"headers": headers}) == {"headers": [["Authorization", WITHHELD], ["Accept", "text/csv"]]}
    assert withhold({"columns": [["password", 5]]}) == {"columns": [["password", WITHHELD]]}
    assert withhold({"columns": ["password", "mail"]}) == {"columns": ["password", "mail"]}


@pytest.mark.parametrize("text", ["a", "a.", "p://", "-----BEGIN ", 'password=\\"', "--password ", "eyJ-", "x:", "["])
def test_long_texts_take_time_in_proportion_to_their_length(text):
    assert len(withhold(text * 20_000)) > 0  # took hours when it was quadratic


def test_a_run_records_no_secret_in_the_catalog_or_in_a_pack(tmp_path):
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("r")
        params = {"db": {"password": SECRET, "host": "db"}, "url": f"postgresql://u:{SECRET}@h/d", "rows": 5}
        url = f"https://u:{SECRET}@airflow/log?token={SECRET}"
        with store.run("job", params=params, url=url), store.transaction("r@main") as tx:
            tx.write("a", b"1")
        run = store.commit("r@main").run
        assert run.params == {
            "db": {"password": WITHHELD, "host": "db"},
            "url": "postgresql://u:(withheld)@h/d",
            "rows": 5,
        }
        assert run.url == "https://u:(withheld)@airflow/log?token=(withheld)"
    for path in (tmp_path / "s").rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path
    assert params["db"]["password"] == SECRET
