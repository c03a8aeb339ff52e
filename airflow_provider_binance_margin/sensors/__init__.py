"""Sensors: has a record appeared?"""
