/** The shop's database: SQLite in the memory of this process, new at every start. */

import sqlite from 'node-sqlite3-wasm'

/** Enough that the database has to think about its best sellers. */
const PAST_SALES = 20_000

export function openDatabase() {
  const database = new sqlite.Database()
  database.exec(`
    CREATE TABLE users (user_id TEXT PRIMARY KEY, name TEXT NOT NULL);
    INSERT INTO users VALUES ('ada', 'Ada'), ('grace', 'Grace'), ('alan', 'Alan');

    CREATE TABLE books (book_id INTEGER PRIMARY KEY, title TEXT NOT NULL, author TEXT NOT NULL);
    INSERT INTO books VALUES
      (1, 'Notes on the Analytical Engine', 'A. Lovelace'),
      (2, 'Computing Machinery and Intelligence', 'A. Turing'),
      (3, 'The Education of a Computer', 'G. Hopper'),
      (4, 'A Mathematical Theory of Communication', 'C. Shannon'),
      (5, 'The Art of Doing Science and Engineering', 'R. Hamming');

    CREATE TABLE reviews (
      review_id INTEGER PRIMARY KEY, book_id INTEGER NOT NULL, user_id TEXT NOT NULL, text TEXT NOT NULL
    );
    INSERT INTO reviews (book_id, user_id, text) VALUES
      (1, 'grace', 'The first program, and a footnote about everything.'),
      (1, 'alan', 'Her objection deserves an answer.'),
      (2, 'ada', 'An answer to me!'),
      (3, 'ada', 'Programs that write programs: who would have thought.');

    CREATE TABLE sales (sale_id INTEGER PRIMARY KEY, book_id INTEGER NOT NULL, user_id TEXT);
    INSERT INTO sales (book_id)
      WITH RECURSIVE counter(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM counter WHERE number < ${PAST_SALES})
      SELECT 1 + number * number % 11 % 5 FROM counter;
  `)
  return database
}
